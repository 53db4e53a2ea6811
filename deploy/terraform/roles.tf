data "aws_iam_policy_document" "tasks" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["ecs-tasks.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [local.account]
    }

    condition {
      test     = "ArnLike"
      variable = "aws:SourceArn"
      values   = ["arn:${local.partition}:ecs:${local.region}:${local.account}:*"]
    }
  }
}

# ECS itself starts tasks with this: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_execution_IAM_role.html
# Both roles have names that begin as CloudFormation would begin them, for the policy of the CI role.
resource "aws_iam_role" "execution" {
  name               = "${local.name}-ExecutionRole-${local.region}"
  description        = "Starts the environments of the Branchline platform ${var.platform}"
  assume_role_policy = data.aws_iam_policy_document.tasks.json
  tags               = local.tags
}

data "aws_iam_policy_document" "execution" {
  statement {
    sid       = "LogIn"
    actions   = ["ecr:GetAuthorizationToken"]
    resources = ["*"] # it takes no other
  }

  statement {
    sid       = "PullImages"
    actions   = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
    resources = ["arn:${local.partition}:ecr:${local.region}:${local.account}:repository/branchline.${var.platform}/*"]
  }

  statement {
    sid       = "WriteLogs"
    actions   = ["logs:CreateLogStream", "logs:PutLogEvents"]
    resources = ["arn:${local.partition}:logs:${local.region}:${local.account}:log-group:/branchline/${var.platform}/*"]
  }

  statement {
    sid     = "ReadSecrets"
    actions = ["ssm:GetParameters", "secretsmanager:GetSecretValue", "kms:Decrypt"]
    resources = length(var.secret_arns) > 0 ? var.secret_arns : [
      "arn:${local.partition}:ssm:${local.region}:${local.account}:parameter/preview/*",
      "arn:${local.partition}:ssm:${local.region}:${local.account}:parameter/*/preview/*",
      "arn:${local.partition}:secretsmanager:${local.region}:${local.account}:secret:preview/*",
      "arn:${local.partition}:secretsmanager:${local.region}:${local.account}:secret:*/preview/*",
    ]
  }
}

resource "aws_iam_role_policy" "execution" {
  name   = "start"
  role   = aws_iam_role.execution.id
  policy = data.aws_iam_policy_document.execution.json
}

# What the applications themselves may do: nothing but answer `branchline exec`.
resource "aws_iam_role" "task" {
  name               = "${local.name}-TaskRole-${local.region}"
  description        = "The environments of the Branchline platform ${var.platform}"
  assume_role_policy = data.aws_iam_policy_document.tasks.json
  tags               = local.tags
}

data "aws_iam_policy_document" "task" {
  statement {
    sid = "AnswerSessions"
    actions = [
      "ssmmessages:CreateControlChannel",
      "ssmmessages:CreateDataChannel",
      "ssmmessages:OpenControlChannel",
      "ssmmessages:OpenDataChannel",
    ]
    resources = ["*"] # they take no other
  }
}

resource "aws_iam_role_policy" "task" {
  name   = "exec"
  role   = aws_iam_role.task.id
  policy = data.aws_iam_policy_document.task.json
}
