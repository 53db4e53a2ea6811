# The certificate for all environments, proved by a record in the hosted zone, and the record that leads to them.

resource "aws_acm_certificate" "environments" {
  count             = local.makes_certificate ? 1 : 0
  domain_name       = "*.${var.domain}"
  validation_method = "DNS"
  tags              = merge(local.tags, { Name = local.name })

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_route53_record" "validation" {
  count           = local.makes_certificate ? 1 : 0
  zone_id         = var.hosted_zone_id
  name            = tolist(aws_acm_certificate.environments[0].domain_validation_options)[0].resource_record_name
  type            = tolist(aws_acm_certificate.environments[0].domain_validation_options)[0].resource_record_type
  records         = [tolist(aws_acm_certificate.environments[0].domain_validation_options)[0].resource_record_value]
  ttl             = 60
  allow_overwrite = true
}

resource "aws_acm_certificate_validation" "environments" {
  count                   = local.makes_certificate ? 1 : 0
  certificate_arn         = aws_acm_certificate.environments[0].arn
  validation_record_fqdns = aws_route53_record.validation[*].fqdn
}

# Environments on further load balancers have records of their own, which win over this one.
resource "aws_route53_record" "wildcard" {
  count   = var.dns == "wildcard" ? 1 : 0
  zone_id = var.hosted_zone_id
  name    = "*.${var.domain}"
  type    = "A"

  alias {
    name                   = aws_lb.this[0].dns_name
    zone_id                = aws_lb.this[0].zone_id
    evaluate_target_health = false
  }
}
