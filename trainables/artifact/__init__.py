"""The model taken away: a folder of data that one trial leaves, and what is predicted with it."""
