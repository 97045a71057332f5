// A libcuda.so.1 for tests: an H200 and an L4 that do nothing. What the shim asks of the driver,
// and no more.
#include <atomic>
#include <cstring>

namespace {
std::atomic<int> events{0};
thread_local int current = 0;  // as if every thread had made one current; negative: none
}  // namespace

extern "C" {

int fake_cuda_events() {
  return events;
}

void fake_cuda_set_current(int device) {
  current = device;
}

int cuCtxGetDevice(int* device) {
  *device = current;
  return current < 0 ? 201 : 0;
}
int cuDeviceGetName(char* name, int length, int device) {
  std::strncpy(name, device == 0 ? "NVIDIA H200" : "NVIDIA L4", static_cast<std::size_t>(length));
  return 0;
}
int cuDeviceGetAttribute(int* value, int attribute, int device) {
  *value = attribute == 16   ? (device == 0 ? 132 : 58)
           : attribute == 75 ? (device == 0 ? 9 : 8)
           : attribute == 76 ? (device == 0 ? 0 : 9)
                             : 0;
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
