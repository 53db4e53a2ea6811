# As many load balancers as shards, each with the listener that has the environments' rules: HTTPS where there is a
# certificate, otherwise HTTP.

resource "aws_lb" "this" {
  count                      = var.shards
  name                       = "bl-${var.platform}-${count.index + 1}"
  load_balancer_type         = "application"
  internal                   = false
  subnets                    = local.subnets
  security_groups            = [aws_security_group.load_balancers.id]
  drop_invalid_header_fields = true
  tags                       = local.tags
}

resource "aws_lb_listener" "http" {
  count             = var.shards
  load_balancer_arn = aws_lb.this[count.index].arn
  port              = 80
  protocol          = "HTTP"
  tags              = local.tags

  default_action {
    type = local.has_certificate ? "redirect" : "fixed-response"

    dynamic "redirect" {
      for_each = local.has_certificate ? [true] : []
      content {
        protocol    = "HTTPS"
        port        = "443"
        status_code = "HTTP_301"
      }
    }

    dynamic "fixed_response" {
      for_each = local.has_certificate ? [] : [true]
      content {
        status_code  = "404"
        content_type = "text/html"
        message_body = file("${path.module}/not_found.html")
      }
    }
  }
}

resource "aws_lb_listener" "https" {
  count             = local.has_certificate ? var.shards : 0
  load_balancer_arn = aws_lb.this[count.index].arn
  port              = 443
  protocol          = "HTTPS"
  ssl_policy        = "ELBSecurityPolicy-TLS13-1-2-2021-06"
  certificate_arn   = local.certificate
  tags              = local.tags

  default_action {
    type = "fixed-response"

    fixed_response {
      status_code  = "404"
      content_type = "text/html"
      message_body = file("${path.module}/not_found.html")
    }
  }
}
