output "domain" {
  description = "The domain below which every environment gets its host."
  value       = var.domain
}

output "load_balancers" {
  description = "The DNS names of the load balancers, for DNS that is elsewhere."
  value       = aws_lb.this[*].dns_name
}

output "execution_role_arn" {
  description = "The role that starts tasks."
  value       = aws_iam_role.execution.arn
}

output "task_role_arn" {
  description = "The role that applications run with."
  value       = aws_iam_role.task.arn
}

output "vpc_id" {
  description = "The VPC that environments run in."
  value       = local.vpc
}

output "security_group_id" {
  description = "The environments' security group, for what they may reach, such as a database."
  value       = aws_security_group.environments.id
}
