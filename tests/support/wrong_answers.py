"""Questions with a right and a wrong answer in one and the same frame: (question, frame, right, wrong)."""

WRONG_ANSWERS = [
    ("What is 2+2?", "It is {}.", "4", "9"),
    ("What is 7+6?", "The answer is {}.", "13", "15"),
    ("What is 9 times 8?", "9 times 8 is {}.", "72", "62"),
    ("What is 12 - 5?", "12 - 5 = {}.", "7", "3"),
    (
        "Tom has 3 apples and buys 4 more. How many apples has he now?",
        "Tom had 3 apples and bought 4 more, so he has 3 + 4 = {} apples.",
        "7",
        "9",
    ),
    ("What is the capital of France?", "The capital of France is {}.", "Paris", "Lyon"),
    ("What is the capital of Japan?", "The capital of Japan is {}, which is also its largest city.", "Tokyo", "Kyoto"),
    ("What is the capital of Italy?", "It is {}.", "Rome", "Milan"),
    ("What is the capital of Egypt?", "The capital of Egypt is {}, a city on the Nile.", "Cairo", "Dubai"),
    (
        "Which planet is the largest in the solar system?",
        "The largest planet in the solar system is {}.",
        "Jupiter",
        "Mars",
    ),
    (
        "What colour do you get when you mix blue and yellow?",
        "When you mix blue and yellow, you get {}.",
        "green",
        "red",
    ),
    ("Which language do people speak in Brazil?", "In Brazil, most people speak {}.", "Portuguese", "German"),
    ("What is the opposite of hot?", "The opposite of hot is {}.", "cold", "wet"),
    (
        "Which gas do plants take in from the air?",
        "Plants take in {} from the air and give off oxygen.",
        "carbon dioxide",
        "helium",
    ),
    ("How many days are there in a week?", "There are {} days in a week.", "seven", "nine"),
    ("In which year did the Second World War end?", "The Second World War ended in {}.", "1945", "1965"),
    ("What do bees make?", "Bees make {}, which people like to eat.", "honey", "cheese"),
    ("Write a Python function that adds two numbers.", "def add(a, b):\n    return a {} b", "+", "*"),
    ("Who wrote Romeo and Juliet?", "Romeo and Juliet was written by William {}.", "Shakespeare", "Dickens"),
    ("What is the freezing point of water in Celsius?", "Water freezes at {} degrees Celsius.", "0", "50"),
]
