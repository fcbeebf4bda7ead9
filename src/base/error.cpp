#include "base/error.h"

namespace krasis {

void ensure(bool condition, const char* message) {
  if (!condition) throw Error(ErrorCode::Internal, std::string("internal: ") + message);
}

}  // namespace krasis
