import asyncio

from agents import Agent, Runner, function_tool
from openai.types.responses import ResponseTextDeltaEvent
from weather import get_weather


async def main():
    agent = Agent(name="Guide", model="gpt-5.2", tools=[function_tool(get_weather)])
    result = Runner.run_streamed(agent, "What is the weather in Zürich?")
    async for event in result.stream_events():
        if event.type == "raw_response_event" and isinstance(event.data, ResponseTextDeltaEvent):
            print(event.data.delta, end="")


asyncio.run(main())
