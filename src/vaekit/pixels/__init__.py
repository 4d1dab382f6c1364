"""Pixels: from the bytes of one image file to uint8 pixels in a form; without torch, so that processes start fast.

bytes of a span -> decode: upright, sRGB, gray or colour -> fit -> a row of an array
"""
