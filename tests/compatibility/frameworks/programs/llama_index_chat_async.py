import asyncio
import os

from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike
from weather import get_weather


async def main():
    tool = FunctionTool.from_defaults(get_weather)
    llm = OpenAILike(
        model="gpt-5.2", api_base=os.environ["OPENAI_BASE_URL"], is_chat_model=True, is_function_calling_model=True
    )
    async for response in await llm.astream_chat_with_tools([tool], user_msg="What is the weather in Zürich?"):
        print(response.delta, end="")
    for call in llm.get_tool_calls_from_response(response, error_on_no_tool_call=False):
        await tool.acall(**call.tool_kwargs)


asyncio.run(main())
