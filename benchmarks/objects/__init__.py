"""COCO objects: named in a text, present in an image."""
