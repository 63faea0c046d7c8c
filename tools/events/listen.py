"""Another service in Python: reads Convene's exchange with aio-pika, and each message with the CloudEvents SDK.

Usage: listen.py AMQP_URL EXCHANGE. Binds a queue of its own, prints `bound`, and then each event as the SDK understands it, as
JSON, a line each, until it is ended.
"""

import asyncio
import json
import sys

import aio_pika
from cloudevents.core.bindings import rabbitmq


async def main(url, exchange):
    connection = await aio_pika.connect(url)
    async with connection:
        channel = await connection.channel()
        queue = await channel.declare_queue(exclusive=True)
        await queue.bind(exchange, routing_key="#")
        print("bound", flush=True)
        async with queue.iterator() as messages:
            async for message in messages:
                received = rabbitmq.RabbitMQMessage(
                    content_type=message.content_type, headers=dict(message.headers), body=message.body
                )
                event = rabbitmq.from_rabbitmq_event(received)
                told = {
                    "attributes": {name: str(value) for name, value in event.get_attributes().items()},
                    "data": event.get_data(),
                }
                print(json.dumps(told), flush=True)
                await message.ack()


asyncio.run(main(*sys.argv[1:]))
