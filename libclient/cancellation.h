#pragma once

#include <pthread.h>

namespace reformer::client {

// While it lives this thread is not cancelled (pthread_cancel takes effect later): the client waits
// for the daemon in calls that are points of cancellation, and its frames must not be unwound by
// it.
class Uncancelled {
 public:
  Uncancelled() { (void)::pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before_); }
  ~Uncancelled() { (void)::pthread_setcancelstate(before_, nullptr); }
  Uncancelled(const Uncancelled&) = delete;
  Uncancelled& operator=(const Uncancelled&) = delete;

 private:
  int before_ = PTHREAD_CANCEL_ENABLE;
};

}  // namespace reformer::client
