from pydantic_ai import Agent
from weather import get_weather

agent = Agent("openai-chat:gpt-5.2", tools=[get_weather])
result = agent.run_stream_sync("What is the weather in Zürich?")
for text in result.stream_text(delta=True, debounce_by=None):
    print(text, end="")
