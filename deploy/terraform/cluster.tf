# Where environments run, and who writes to which.

resource "aws_ecs_cluster" "this" {
  name = local.name
  tags = local.tags

  configuration {
    execute_command_configuration {
      # What is typed and shown in a session may be secret, so it isn't logged.
      logging = "NONE"
    }
  }
}

resource "aws_ecs_cluster_capacity_providers" "this" {
  cluster_name       = aws_ecs_cluster.this.name
  capacity_providers = local.on_ec2 ? aws_ecs_capacity_provider.instances[*].name : ["FARGATE", "FARGATE_SPOT"]

  dynamic "default_capacity_provider_strategy" {
    for_each = aws_ecs_capacity_provider.instances[*].name
    content {
      capacity_provider = default_capacity_provider_strategy.value
      weight            = 1
    }
  }
}

# One writer per environment, by conditional writes. DynamoDB removes what has expired.
resource "aws_dynamodb_table" "leases" {
  name         = local.name
  billing_mode = "PAY_PER_REQUEST"
  hash_key     = "environment"
  tags         = local.tags

  attribute {
    name = "environment"
    type = "S"
  }

  ttl {
    attribute_name = "expires_at"
    enabled        = true
  }
}
