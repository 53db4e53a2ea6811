# With the capacity ec2-spot or ec2: instances that come and go with the tasks, behind a capacity provider.

data "aws_iam_policy_document" "instances" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["ec2.amazonaws.com"]
    }
  }
}

resource "aws_iam_role" "instances" {
  count              = local.on_ec2 ? 1 : 0
  name               = "${local.name}-InstanceRole-${local.region}"
  description        = "The instances of the Branchline platform ${var.platform}"
  assume_role_policy = data.aws_iam_policy_document.instances.json
  tags               = local.tags
}

resource "aws_iam_role_policy_attachment" "instances" {
  count      = local.on_ec2 ? 1 : 0
  role       = aws_iam_role.instances[0].name
  policy_arn = "arn:${local.partition}:iam::aws:policy/service-role/AmazonEC2ContainerServiceforEC2Role"
}

resource "aws_iam_instance_profile" "instances" {
  count = local.on_ec2 ? 1 : 0
  name  = "${local.name}-InstanceProfile-${local.region}"
  role  = aws_iam_role.instances[0].name
  tags  = local.tags
}

resource "aws_launch_template" "instances" {
  count                  = local.on_ec2 ? 1 : 0
  name                   = "${local.name}-capacity"
  image_id               = "resolve:ssm:${var.image_parameter}"
  instance_type          = var.instance_types[0]
  update_default_version = true
  tags                   = local.tags

  # https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs-agent-config.html
  user_data = base64encode(<<-SCRIPT
    #!/bin/bash
    cat >> /etc/ecs/ecs.config <<'CONFIG'
    ECS_CLUSTER=${aws_ecs_cluster.this.name}
    ECS_ENABLE_SPOT_INSTANCE_DRAINING=true
    ECS_IMAGE_PULL_BEHAVIOR=once
    CONFIG
  SCRIPT
  )

  iam_instance_profile {
    arn = aws_iam_instance_profile.instances[0].arn
  }

  network_interfaces {
    associate_public_ip_address = true
    security_groups             = [aws_security_group.environments.id]
  }

  # With one hop, the containers don't reach the instance's credentials.
  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  tag_specifications {
    resource_type = "instance"
    tags          = merge(local.tags, { Name = local.name })
  }

  tag_specifications {
    resource_type = "volume"
    tags          = local.tags
  }
}

resource "aws_autoscaling_group" "instances" {
  count                 = local.on_ec2 ? 1 : 0
  name                  = "${local.name}-capacity"
  min_size              = 0
  max_size              = var.max_instances
  vpc_zone_identifier   = local.subnets
  protect_from_scale_in = true  # ECS takes the protection away once an instance has no task
  capacity_rebalance    = false # ECS isn't told of it; Spot interruptions drain the instance anyway
  force_delete          = true

  mixed_instances_policy {
    instances_distribution {
      on_demand_base_capacity                  = 0
      on_demand_percentage_above_base_capacity = var.capacity == "ec2" ? 100 : 0
      spot_allocation_strategy                 = "price-capacity-optimized"
    }

    launch_template {
      launch_template_specification {
        launch_template_id = aws_launch_template.instances[0].id
        version            = aws_launch_template.instances[0].latest_version
      }

      dynamic "override" {
        for_each = var.instance_types
        content {
          instance_type = override.value
        }
      }
    }
  }

  dynamic "tag" {
    for_each = merge(local.tags, { AmazonECSManaged = "true" })
    content {
      key                 = tag.key
      value               = tag.value
      propagate_at_launch = true
    }
  }

  lifecycle {
    ignore_changes = [desired_capacity]
  }
}

resource "aws_ecs_capacity_provider" "instances" {
  count = local.on_ec2 ? 1 : 0
  name  = "${local.name}-capacity"
  tags  = local.tags

  auto_scaling_group_provider {
    auto_scaling_group_arn         = aws_autoscaling_group.instances[0].arn
    managed_termination_protection = "ENABLED"
    managed_draining               = "ENABLED"

    managed_scaling {
      status                 = "ENABLED"
      target_capacity        = 100
      instance_warmup_period = 30
    }
  }
}
