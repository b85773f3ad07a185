#include "daemon/control/paging.h"

namespace freshet::control {

Result<uint32_t> page_size(const PageRequest& page, const std::string& prefix) {
  if (page.size > kPageSizeMax) {
    return invalid_argument("page_size is " + std::to_string(page.size) + "; the most is " +
                            std::to_string(kPageSizeMax));
  }
  if (!page.token.empty() && !page.token.starts_with(prefix)) {
    return invalid_argument("page_token is not one that this listing gave out");
  }
  return page.size == 0 ? kPageSizeDefault : page.size;
}

}  // namespace freshet::control
