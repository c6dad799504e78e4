"""What is charged, by number. A session has budgets of the first four; an address and a user have one of each but errors."""

cdef enum:
    COMMANDS_BUDGET = 0
    LEVELS_BUDGET = 1
    ANSWER_BYTES_BUDGET = 2
    ERRORS_BUDGET = 3
    DECODED_BYTES_BUDGET = 4
    BUDGETS = 5
