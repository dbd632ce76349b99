import asyncio

from pydantic_ai import Agent
from weather import get_weather


async def main():
    agent = Agent("openai-responses:gpt-5.2", tools=[get_weather])
    async with agent.run_stream("What is the weather in Zürich?") as result:
        async for text in result.stream_text(delta=True, debounce_by=None):
            print(text, end="")


asyncio.run(main())
