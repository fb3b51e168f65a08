"""SES and SNS as `tickwire deliver` uses them, against moto's server: prints what came of each step as JSON."""

import asyncio
import json
import urllib.request

import boto3
from moto.server import ThreadedMotoServer

from infra.hooks.aws import Amazon, SesChannel, SnsChannel
from infra.hooks.channel import Letter
from infra.hooks.messages import message_of
from schemas.rows import Alert

REGION = "eu-central-1"
ALERT = Alert(
    id="a1", rule="rsi", symbol="SIMA", state="fired", ts_event=1_795_357_800_000_000_000, value=71.0, threshold=70.0,
    log_id="log-1", src_partition=0, src_offset=7,
)  # fmt: skip


def main() -> None:
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        print(json.dumps(asyncio.run(steps(f"http://{host}:{port}"))))
    finally:
        server.stop()


async def steps(endpoint: str) -> dict[str, object]:
    amazon, message = Amazon(REGION, endpoint), message_of(ALERT)
    ses, sns = SesChannel(amazon, "tickwire@example.org"), SnsChannel(amazon)
    mail = Letter("desk@example.com", message, (), 0)
    identities = boto3.client("sesv2", region_name=REGION, endpoint_url=endpoint)
    identities.list_email_identities()  # moto takes its time with the first question
    unknown = await ses.send(mail)
    identities.create_email_identity(EmailIdentity="tickwire@example.org")
    admin = boto3.client("sns", region_name=REGION, endpoint_url=endpoint)
    topic = admin.create_topic(Name="alerts")["TopicArn"]
    fifo = admin.create_topic(Name="alerts.fifo", Attributes={"FifoTopic": "true"})["TopicArn"]
    queues = boto3.client("sqs", region_name=REGION, endpoint_url=endpoint)
    queue = queues.create_queue(QueueName="q")["QueueUrl"]
    arn = queues.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    admin.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    answers = {
        "unknown": unknown, "mail": await ses.send(mail), "topic": await sns.send(Letter(topic, message, (), 0)),
        "fifo": await sns.send(Letter(fifo, message, (), 0)), "missing": await sns.send(Letter(topic + "x", message, (), 0)),
        "nobody": await SnsChannel(Amazon(REGION, "http://127.0.0.1:9")).send(Letter(topic, message, (), 0)),
    }  # fmt: skip
    found: dict[str, object] = {
        name: [answer.outcome, answer.status, answer.detail] for name, answer in answers.items()
    }
    found["arrived"] = queues.receive_message(QueueUrl=queue)["Messages"][0]["Body"]
    with urllib.request.urlopen(f"{endpoint}/moto-api/data.json") as said:
        found["mails"] = [value for name, value in json.load(said).get("ses", {}).items() if "essage" in name]
    return found


if __name__ == "__main__":
    main()
