"""What only a GPU shows, against numbers of the CPU. Run: make test-gpu

STEP_AUDIO_TEST_DEVICE=cpu runs the same tests on the CPU, all but those of CUDA itself.
"""
