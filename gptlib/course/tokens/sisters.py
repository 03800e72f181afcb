"""The sentence that chapter 5 carries, and its sisters.

One job: to hold them, for the chapter, its drawings and its recorded runs alike.
"""

CARRIED = "the hen in the lighthouse then thought of the other three hens"
SISTERS = {
    "English": CARRIED,
    "German": "die Henne im Leuchtturm dachte dann zärtlich an die drei anderen Hennen",
    "Finnish": "kana majakassa ajatteli sitten niitä kolmea muuta kanaa",
}
EMOJI = "🐔 ➡️ 🏠💡 ❤️ 🐔🐔🐔 👩🏽‍🚀 👨‍👩‍👧 🏳️‍🌈"
