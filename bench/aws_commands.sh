#!/bin/sh
# aws_commands.sh first|again HOST RELEASE IMAGE: the same steps as aws_bare.py, by the AWS command line and docker.
set -eu
what=$1 host=$2 release=$3 image=$4
name=${host%%.*}

aws ecr get-login-password | "$DOCKER" login --username AWS --password-stdin "${image%%/*}" >/dev/null 2>&1
"$DOCKER" build --quiet --tag "$image" . >/dev/null
"$DOCKER" push --quiet "$image" >/dev/null

if [ "$what" = first ]; then
    aws logs create-log-group --log-group-name "/$name"
    aws logs put-retention-policy --log-group-name "/$name" --retention-in-days 14
    group=$(aws elbv2 create-target-group --name "$name" --protocol HTTP --port 8000 --vpc-id "$VPC" --target-type ip \
        --health-check-path / --health-check-interval-seconds 5 --health-check-timeout-seconds 4 \
        --healthy-threshold-count 2 --query 'TargetGroups[0].TargetGroupArn' --output text)
    aws elbv2 modify-target-group-attributes --target-group-arn "$group" \
        --attributes Key=deregistration_delay.timeout_seconds,Value=5 >/dev/null
    aws elbv2 create-rule --listener-arn "$LISTENER" --priority "$PRIORITY" \
        --conditions "Field=host-header,Values=$host" --actions "Type=forward,TargetGroupArn=$group" >/dev/null
fi

task=$(aws ecs register-task-definition --family "$name" --network-mode awsvpc --requires-compatibilities FARGATE \
    --cpu 256 --memory 512 --execution-role-arn "$EXECUTION_ROLE" --task-role-arn "$TASK_ROLE" \
    --container-definitions "[{\"name\": \"app\", \"image\": \"$image\", \"portMappings\": [{\"containerPort\": 8000}],
        \"logConfiguration\": {\"logDriver\": \"awslogs\", \"options\": {\"awslogs-group\": \"/$name\",
            \"awslogs-region\": \"$AWS_REGION\", \"awslogs-stream-prefix\": \"app\"}}}]" \
    --query taskDefinition.taskDefinitionArn --output text)

if [ "$what" = first ]; then
    aws ecs create-service --cluster "$CLUSTER" --service-name "$name" --task-definition "$task" --desired-count 1 \
        --capacity-provider-strategy capacityProvider=FARGATE_SPOT,weight=1 \
        --network-configuration "awsvpcConfiguration={subnets=[$SUBNETS],securityGroups=[$SECURITY_GROUP],assignPublicIp=ENABLED}" \
        --load-balancers "targetGroupArn=$group,containerName=app,containerPort=8000" \
        --deployment-configuration \
        'deploymentCircuitBreaker={enable=true,rollback=true},minimumHealthyPercent=100,maximumPercent=200' >/dev/null
else
    aws ecs update-service --cluster "$CLUSTER" --service "$name" --task-definition "$task" --desired-count 1 >/dev/null
fi

# Until twenty answers in a row are the release's. `aws ecs wait services-stable` would look every 15 seconds only.
for _ in $(seq 600); do
    if [ "$(curl --silent --max-time 5 --header "Host: $host" "$ROUTER?[1-20]" | sort -u)" = "release $release" ]; then
        exit 0
    fi
    sleep 0.05
done
echo "$host doesn't answer release $release" >&2
exit 1
