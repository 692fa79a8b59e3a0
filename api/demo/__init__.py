"""The main job on real input: one Broadway week, sold and admitted through the HTTP API to the last cent.

``broadway-2018-09-16.csv`` holds facts published by The Broadway League, gathered in the public repository
mitkrieg/broadway-grosses-scraper (``data/shows.csv``).
"""
