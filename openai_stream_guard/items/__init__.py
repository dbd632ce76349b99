"""Items built by plans: what the SDK would build, without looking up again what comes out the same every time.

For every event the SDK looks at each annotation anew (`construct_type`), and for a union it lets pydantic try every
member. Here each class of items is looked at once:

    constructing.py     what `BaseModel.construct` does for a class, as one function from JSON to the item
    tagged_unions.py    pydantic's own validator, told which member of a union a literal tag leaves
    builder.py          which plan an item needs, and the proof that it builds what the SDK builds
    comparison.py       whether two items are the same

The law: an item is built exactly as the SDK builds it, or left to it. No private name of openai is known here; what
plans need of the SDK is handed in as `SdkFunctions`.
"""

from .builder import NOT_BUILT, VERIFY_EVERY, ItemBuilder
from .comparison import difference
from .constructing import Planner, SdkFunctions

__all__ = ["NOT_BUILT", "VERIFY_EVERY", "ItemBuilder", "Planner", "SdkFunctions", "difference"]
