import json

import litellm
from weather import get_weather

question = [{"role": "user", "content": "What is the weather in Zürich?"}]
tool = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
chunks = []
for chunk in litellm.completion(model="openai/gpt-5.2", messages=question, tools=[tool], stream=True):
    print(chunk.choices[0].delta.content or "", end="")
    chunks.append(chunk)
for call in litellm.stream_chunk_builder(chunks).choices[0].message.tool_calls or []:
    get_weather(**json.loads(call.function.arguments))
