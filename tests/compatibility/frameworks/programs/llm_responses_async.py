import asyncio

import llm
from weather import get_weather


async def main():
    model = llm.get_async_model("gpt-5.1")
    async for text in model.chain("What is the weather in Zürich?", tools=[get_weather]):
        print(text, end="")


asyncio.run(main())
