#pragma once

#include "core/result.h"

namespace reformer::storage {

// Walks leave out what cannot be read and go on; the first such error is what they end with.
class FirstError {
 public:
  void note(const core::Error& error) {
    if (status_.ok()) {
      status_ = error;
    }
  }
  [[nodiscard]] const core::Status& status() const { return status_; }

 private:
  core::Status status_ = core::ok_status();
};

}  // namespace reformer::storage
