variable "platform" {
  description = "The platform's name, of which all other names are made."
  type        = string
  validation {
    condition     = can(regex("^[a-z0-9]+(-[a-z0-9]+)*$", var.platform)) && length(var.platform) <= 20
    error_message = "Lower-case letters, digits and single hyphens between them, at most 20 characters."
  }
}

variable "domain" {
  description = "The domain below which every environment gets its host."
  type        = string
  validation {
    condition     = length(var.domain) >= 1 && length(var.domain) <= 189
    error_message = "A domain of at most 189 characters, such as preview.example.com."
  }
}

variable "hosted_zone_id" {
  description = "The public hosted zone of the domain, in this account. Empty where its DNS is elsewhere."
  type        = string
  default     = ""
}

variable "certificate_arn" {
  description = "An issued certificate for *.domain in this region. Empty: one is made where there is a hosted zone to prove the domain in; without one the load balancers speak plain HTTP."
  type        = string
  default     = ""
}

variable "dns" {
  description = "wildcard: one record for all environments. record: each environment makes its own. none: DNS is elsewhere. Anything but none needs hosted_zone_id."
  type        = string
  default     = "none"
  validation {
    condition     = contains(["wildcard", "record", "none"], var.dns)
    error_message = "One of wildcard, record and none."
  }
  validation {
    condition     = var.dns == "none" || var.hosted_zone_id != ""
    error_message = "Anything but none needs hosted_zone_id."
  }
}

variable "capacity" {
  description = "What tasks run on."
  type        = string
  default     = "fargate-spot"
  validation {
    condition     = contains(["fargate-spot", "fargate", "ec2-spot", "ec2"], var.capacity)
    error_message = "One of fargate-spot, fargate, ec2-spot and ec2."
  }
}

variable "log_retention_days" {
  description = "Days for which the environments' log groups keep what was printed."
  type        = number
  default     = 14
  validation {
    condition = contains(
      [1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653],
      var.log_retention_days
    )
    error_message = "One of the numbers of days that CloudWatch Logs takes, such as 7, 14 or 30."
  }
}

variable "shards" {
  description = "How many load balancers the environments are spread over. One takes 100 environments."
  type        = number
  default     = 1
  validation {
    condition     = var.shards >= 1 && var.shards <= 50 && floor(var.shards) == var.shards
    error_message = "A whole number from 1 to 50."
  }
}

variable "secret_arns" {
  description = "ARNs, which may have wildcards, of the SSM parameters and Secrets Manager secrets that environments may be given, and of the KMS keys that these are encrypted with. Empty: those whose names have a part \"preview\", such as /preview/shop/token."
  type        = list(string)
  default     = []
}

variable "vpc_id" {
  description = "An existing VPC. Empty to make one."
  type        = string
  default     = ""
}

variable "subnet_ids" {
  description = "Public subnets of the existing VPC in at least two zones. Empty to make them."
  type        = list(string)
  default     = []
  validation {
    condition     = (var.vpc_id == "") == (length(var.subnet_ids) == 0) && length(var.subnet_ids) != 1
    error_message = "vpc_id and subnet_ids go together, and a load balancer needs at least two subnets."
  }
}

variable "min_instances" {
  description = "With the capacity ec2-spot or ec2: how many instances stay when nothing runs. One spares the first deploy of the day a start of a minute or two."
  type        = number
  default     = 0
}

variable "max_instances" {
  description = "With the capacity ec2-spot or ec2: the most instances there may be."
  type        = number
  default     = 20
}

variable "image_parameter" {
  description = "With the capacity ec2-spot or ec2: the SSM parameter that names the AMI. It is read whenever an instance starts, so new ones are up to date."
  type        = string
  default     = "/aws/service/ecs/optimized-ami/amazon-linux-2023/recommended/image_id"
}

variable "instance_types" {
  description = "With the capacity ec2-spot or ec2: instance types of one size and of the AMI's architecture. The more, the less often Spot has none, or takes one back. For ec2 the order counts: the first that there is."
  type        = list(string)
  default     = ["m6i.large", "m6a.large", "m5.large", "m5a.large", "m5d.large", "m7i.large"]
}
