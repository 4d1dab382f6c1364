"""Decode the bytes of an image file into uint8 pixels. Imports no torch, so that worker processes start fast.

byte range -> decode: upright, sRGB, gray or color -> resize -> a row of an array
"""
