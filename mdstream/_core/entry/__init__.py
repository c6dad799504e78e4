"""How a client comes in, as most do: what is done for each of them before it has a book."""
