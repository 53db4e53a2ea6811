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

# What the ECS agent does in this cluster, and nothing else. Tasks have roles of their own, which pull their images and
# write their logs: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/instance_IAM_role.html
data "aws_iam_policy_document" "agent" {
  statement {
    sid       = "FindTheService"
    actions   = ["ecs:DiscoverPollEndpoint"]
    resources = ["*"] # it takes no other
  }

  statement {
    sid = "JoinTheCluster"
    actions = [
      "ecs:RegisterContainerInstance",
      "ecs:DeregisterContainerInstance",
      "ecs:SubmitAttachmentStateChanges",
      "ecs:SubmitContainerStateChange",
      "ecs:SubmitTaskStateChange",
    ]
    resources = [aws_ecs_cluster.this.arn]
  }

  statement {
    sid = "RunTasks"
    actions = [
      "ecs:Poll",
      "ecs:StartTelemetrySession",
      "ecs:UpdateContainerInstancesState", # to DRAINING, when Spot takes the instance back
    ]
    resources = ["arn:${local.partition}:ecs:${local.region}:${local.account}:container-instance/${local.name}/*"]
  }
}

resource "aws_iam_role_policy" "agent" {
  count  = local.on_ec2 ? 1 : 0
  name   = "agent"
  role   = aws_iam_role.instances[0].id
  policy = data.aws_iam_policy_document.agent.json
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
    device_index                = 0
    associate_public_ip_address = true
    security_groups             = [aws_security_group.environments.id]
  }

  block_device_mappings {
    device_name = "/dev/xvda"

    ebs {
      volume_size           = 50
      volume_type           = "gp3"
      encrypted             = true
      delete_on_termination = true
    }
  }

  # Containers are one hop further away, so with one hop they don't get the instance's credentials.
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
  count                   = local.on_ec2 ? 1 : 0
  name                    = "${local.name}-capacity"
  min_size                = var.min_instances
  max_size                = var.max_instances
  default_instance_warmup = 30
  vpc_zone_identifier     = local.subnets
  protect_from_scale_in   = true  # ECS takes the protection away once an instance has no task
  capacity_rebalance      = false # ECS isn't told of it; Spot interruptions drain the instance anyway
  force_delete            = true

  mixed_instances_policy {
    instances_distribution {
      on_demand_base_capacity                  = 0
      on_demand_percentage_above_base_capacity = var.capacity == "ec2" ? 100 : 0
      on_demand_allocation_strategy            = "prioritized"
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
    # ECS adds AmazonECSManaged itself; without it here, the next run would take it away.
    for_each = merge(local.tags, { Name = local.name, AmazonECSManaged = "" })
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
      status                    = "ENABLED"
      target_capacity           = 100
      minimum_scaling_step_size = 1
      maximum_scaling_step_size = 10
      instance_warmup_period    = 30 # the default of 300 would have ECS wait that long before it starts a second instance
    }
  }
}
