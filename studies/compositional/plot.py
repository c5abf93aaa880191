"""Starts `saelab study plot` for the study in this folder: python plot.py [RUN...]"""
from experiment import start

if __name__ == "__main__":
    start("plot")
