# Two public subnets. Tasks have public addresses of their own and no way in but the load balancers, which spares NAT
# gateways in front of environments that mostly sleep.

data "aws_availability_zones" "available" {
  state = "available"
}

resource "aws_vpc" "this" {
  count                = local.makes_network ? 1 : 0
  cidr_block           = "10.0.0.0/16"
  enable_dns_support   = true
  enable_dns_hostnames = true
  tags                 = merge(local.tags, { Name = local.name })
}

resource "aws_internet_gateway" "this" {
  count  = local.makes_network ? 1 : 0
  vpc_id = aws_vpc.this[0].id
  tags   = merge(local.tags, { Name = local.name })
}

resource "aws_route_table" "public" {
  count  = local.makes_network ? 1 : 0
  vpc_id = aws_vpc.this[0].id
  tags   = merge(local.tags, { Name = local.name })
}

resource "aws_route" "internet" {
  count                  = local.makes_network ? 1 : 0
  route_table_id         = aws_route_table.public[0].id
  destination_cidr_block = "0.0.0.0/0"
  gateway_id             = aws_internet_gateway.this[0].id
}

# What is in the subnets, the load balancers above all, needs the gateway to be there before, and has to be gone before
# it goes.
resource "aws_subnet" "public" {
  count             = local.makes_network ? 2 : 0
  vpc_id            = aws_vpc.this[0].id
  availability_zone = data.aws_availability_zones.available.names[count.index]
  cidr_block        = cidrsubnet(aws_vpc.this[0].cidr_block, 1, count.index)
  tags              = merge(local.tags, { Name = "${local.name}-${count.index + 1}" })
  depends_on        = [aws_internet_gateway.this]
}

resource "aws_route_table_association" "public" {
  count          = local.makes_network ? 2 : 0
  subnet_id      = aws_subnet.public[count.index].id
  route_table_id = aws_route_table.public[0].id
}

resource "aws_security_group" "load_balancers" {
  name        = "${local.name}-load-balancers"
  description = "Load balancers of the Branchline platform ${var.platform}"
  vpc_id      = local.vpc
  tags        = merge(local.tags, { Name = "${local.name}-load-balancers" })
}

resource "aws_vpc_security_group_ingress_rule" "load_balancers" {
  for_each          = { HTTP = 80, HTTPS = 443 }
  security_group_id = aws_security_group.load_balancers.id
  description       = each.key
  ip_protocol       = "tcp"
  from_port         = each.value
  to_port           = each.value
  cidr_ipv4         = "0.0.0.0/0"
  tags              = local.tags
}

# Each environment's container has a port of its own choice, and on EC2 instances a port of the host's choice.
# Environments don't reach each other: the group lets nothing in from itself.
resource "aws_security_group" "environments" {
  name        = "${local.name}-environments"
  description = "Environments of the Branchline platform ${var.platform}"
  vpc_id      = local.vpc
  tags        = merge(local.tags, { Name = "${local.name}-environments" })
}

resource "aws_vpc_security_group_ingress_rule" "environments" {
  security_group_id            = aws_security_group.environments.id
  description                  = "The load balancers, and nobody else"
  ip_protocol                  = "tcp"
  from_port                    = 1
  to_port                      = 65535
  referenced_security_group_id = aws_security_group.load_balancers.id
  tags                         = local.tags
}

# Unlike CloudFormation, the provider takes away the rule that lets everything out.
resource "aws_vpc_security_group_egress_rule" "everywhere" {
  for_each = {
    load_balancers = aws_security_group.load_balancers.id
    environments   = aws_security_group.environments.id
  }
  security_group_id = each.value
  description       = "Everywhere"
  ip_protocol       = "-1"
  cidr_ipv4         = "0.0.0.0/0"
  tags              = local.tags
}
