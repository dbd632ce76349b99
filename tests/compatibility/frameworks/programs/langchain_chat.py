from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from weather import get_weather

model = ChatOpenAI(model="gpt-5.2").bind_tools([get_weather])
message = None
for chunk in model.stream("What is the weather in Zürich?"):
    print(chunk.text, end="")
    message = chunk if message is None else message + chunk
for call in message.tool_calls:
    tool(get_weather).invoke(call)
