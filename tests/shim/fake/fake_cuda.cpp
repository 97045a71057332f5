// A libcuda.so.1 for tests: one H200 that does nothing. What the shim asks of the driver, and no
// more.
#include <atomic>
#include <cstring>

namespace {
std::atomic<int> events{0};
}  // namespace

extern "C" {

int fake_cuda_events() {
  return events;
}

int cuCtxGetDevice(int* device) {
  *device = 0;
  return 0;
}
int cuDeviceGetName(char* name, int length, int) {
  std::strncpy(name, "NVIDIA H200", static_cast<std::size_t>(length));
  return 0;
}
int cuDeviceGetAttribute(int* value, int attribute, int) {
  *value = attribute == 16 ? 132 : attribute == 75 ? 9 : 0;
  return 0;
}
int cuCtxGetCurrent(void** context) {
  *context = &events;
  return 0;
}
int cuEventCreate(void** event, unsigned) {
  *event = &events;
  return 0;
}
int cuEventRecord(void*, void*) {
  ++events;
  return 0;
}
int cuEventQuery(void*) {
  return 0;
}
int cuEventElapsedTime(float* milliseconds, void*, void*) {
  *milliseconds = 0.5F;
  return 0;
}
int cuStreamIsCapturing(void*, int* status) {
  *status = 0;
  return 0;
}
int cuThreadExchangeStreamCaptureMode(int*) {
  return 0;
}

}  // extern "C"
