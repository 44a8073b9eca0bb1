"""Restore a folder of faces with FREx: `python inference_frex.py -i FOLDER -o OUT [--model_path FILE] --aligned`."""

import sys

from frex.cli.restore import main

if __name__ == '__main__':
    sys.exit(main())
