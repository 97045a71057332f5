#pragma once

#include <cudnn.h>

// cuDNN as a program that loads it itself sees it.
struct CudnnTable {
  decltype(&::cudnnBackendCreateDescriptor) create;
  decltype(&::cudnnBackendDestroyDescriptor) destroy;
  decltype(&::cudnnBackendSetAttribute) set;
  decltype(&::cudnnBackendGetAttribute) get;
  decltype(&::cudnnBackendFinalize) finalize;
};

// Works on every problem of `list` in `threads` threads, as cudnn-frontend does: counts, fetches
// all, reads the notes of every configuration, and makes a plan of each; then asks once more.
// Prints a JSON line a problem (from the first thread) with "problem", "config" (engine of the
// first one) and "choices"; returns the number of things that were not as cuDNN promises, and says
// them on stderr.
int consume(const CudnnTable& cudnn, const char* device_properties, const char* list, int threads);
