// A plugin of an application: the only part of it that knows cuDNN, and may be unloaded.
#include "tests/shim/fake/use.h"

extern "C" __attribute__((visibility("default"))) int plugin_use(int n) {
  const fake_cudnn::Got got = fake_cudnn::use(n);
  return got.planned == 0 ? -1 : fake_cudnn::served(got) ? 1 : 0;
}

// What reached the cuDNN that this was linked with.
extern "C" __attribute__((visibility("default"))) long plugin_calls() {
  return static_cast<long>(fake_cudnn::fake_cudnn_state()->calls[fake_cudnn::kCreate]);
}
