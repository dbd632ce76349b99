import litellm

for event in litellm.responses(model="openai/gpt-5.2", input="What is the weather in Zürich?", stream=True):
    if event.type == "response.output_text.delta":
        print(event.delta, end="")
