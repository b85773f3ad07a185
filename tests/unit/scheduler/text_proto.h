// Messages written as protobuf text in tests: parse<v1::Gate>("name: 'auc' ..."). Test code only; any thread.
#pragma once

#include <google/protobuf/text_format.h>

#include <string>

#include "base/check.h"

namespace freshet {

template <class Message>
Message parse(const std::string& text) {
  Message message;
  CHECK_MSG(google::protobuf::TextFormat::ParseFromString(text, &message), text);
  return message;
}

}  // namespace freshet
