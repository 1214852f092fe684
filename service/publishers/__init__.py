"""Where events go: each publisher takes them one by one, behind a queue of its own."""
