# Branchline finds its base by the outputs of CloudFormation stacks, so the module ends with stacks that hold nothing
# but those outputs. A template needs a resource, and a change of an output alone is none to CloudFormation: so each has
# a handle, which costs nothing and does nothing, and which is another one whenever an output changes.

locals {
  load_balancers = [
    for number in range(var.shards) : {
      LoadBalancer     = aws_lb.this[number].arn
      LoadBalancerDns  = aws_lb.this[number].dns_name
      LoadBalancerZone = aws_lb.this[number].zone_id
      Listener         = local.has_certificate ? aws_lb_listener.https[number].arn : aws_lb_listener.http[number].arn
    }
  ]

  base = {
    Vpc                       = local.vpc
    Subnets                   = join(",", local.subnets)
    LoadBalancerSecurityGroup = aws_security_group.load_balancers.id
    TaskSecurityGroup         = aws_security_group.environments.id
    Capacity                  = var.capacity
    Cluster                   = aws_ecs_cluster.this.name
    LeaseTable                = aws_dynamodb_table.leases.name
    ExecutionRole             = aws_iam_role.execution.arn
    TaskRole                  = aws_iam_role.task.arn
    Domain                    = var.domain
    Scheme                    = local.has_certificate ? "https" : "http"
    Certificate               = local.certificate
    Dns                       = var.dns
    HostedZone                = var.hosted_zone_id
    LogRetention              = tostring(var.log_retention_days)
    Shards                    = tostring(var.shards)
  }

  # By number; the first load balancer belongs to the base.
  facts = {
    for number in range(1, var.shards + 1) :
    number => number == 1 ? merge(local.base, local.load_balancers[0]) : local.load_balancers[number - 1]
  }
}

resource "aws_cloudformation_stack" "facts" {
  for_each = local.facts
  name     = each.key == "1" ? local.name : "${local.name}-lb-${each.key}"
  tags     = local.tags

  template_body = jsonencode({
    AWSTemplateFormatVersion = "2010-09-09"
    Description              = "Branchline: what Terraform made, for Branchline to read"
    Resources = {
      "Facts${substr(sha256(jsonencode(each.value)), 0, 16)}" = { Type = "AWS::CloudFormation::WaitConditionHandle" }
    }
    Outputs = { for key, value in each.value : key => { Value = value } if value != "" }
  })

  # Whoever reads the outputs uses these at once.
  depends_on = [
    aws_ecs_cluster_capacity_providers.this,
    aws_iam_role_policy.execution,
    aws_iam_role_policy.task,
    aws_route.internet,
    aws_route53_record.wildcard,
    aws_route_table_association.public,
    aws_vpc_security_group_egress_rule.everywhere,
    aws_vpc_security_group_ingress_rule.environments,
    aws_vpc_security_group_ingress_rule.load_balancers,
  ]
}
