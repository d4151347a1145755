"""aligners"""
