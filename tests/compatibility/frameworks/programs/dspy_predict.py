import asyncio

import dspy
from dspy.streaming import StreamListener

dspy.configure(lm=dspy.LM("openai/gpt-5.2"))
predict = dspy.streamify(dspy.Predict("question -> answer"), stream_listeners=[StreamListener("answer")])


async def main():
    async for value in predict(question="What is the weather in Zürich?"):
        if isinstance(value, dspy.Prediction):
            print(value.answer, end="")


asyncio.run(main())
