import asyncio

import instructor
from pydantic import BaseModel


class Forecast(BaseModel):
    city: str
    unit: str = "kelvin"
    days: list[int] = []


async def main():
    client = instructor.from_provider("openai/gpt-5.2", async_client=True)
    question = [{"role": "user", "content": "What is the weather in Zürich?"}]
    async for forecast in client.create_partial(response_model=Forecast, messages=question):
        print(forecast.model_dump_json())


asyncio.run(main())
