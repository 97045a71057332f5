// A library that is linked to cuDNN, to be opened with RTLD_LOCAL.
#include "tests/shim/consumer.h"

extern "C" __attribute__((visibility("default"))) int consume_linked(const char* properties,
                                                                     const char* list,
                                                                     int threads) {
  const CudnnTable cudnn{&cudnnBackendCreateDescriptor,
                         &cudnnBackendDestroyDescriptor,
                         &cudnnBackendSetAttribute,
                         &cudnnBackendGetAttribute,
                         &cudnnBackendFinalize};
  return consume(cudnn, properties, list, threads) == 0 ? 0 : 1;
}
