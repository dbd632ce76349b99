import llm
from weather import get_weather

model = llm.get_model("gpt-4o")
for text in model.chain("What is the weather in Zürich?", tools=[get_weather]):
    print(text, end="")
