data "aws_partition" "current" {}

data "aws_region" "current" {}

data "aws_caller_identity" "current" {}

locals {
  name = "branchline-${var.platform}"
  tags = { "branchline:platform" = var.platform }

  partition = data.aws_partition.current.partition
  region    = data.aws_region.current.region
  account   = data.aws_caller_identity.current.account_id

  makes_network     = var.vpc_id == ""
  makes_certificate = var.certificate_arn == "" && var.hosted_zone_id != ""
  has_certificate   = var.certificate_arn != "" || local.makes_certificate
  on_ec2            = startswith(var.capacity, "ec2")

  vpc         = local.makes_network ? aws_vpc.this[0].id : var.vpc_id
  subnets     = local.makes_network ? aws_subnet.public[*].id : var.subnet_ids
  certificate = local.makes_certificate ? aws_acm_certificate_validation.environments[0].certificate_arn : var.certificate_arn
}
