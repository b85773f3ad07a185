// Digests of messages: 64 hex digits of the SHA-256 over the canonical JSON. Any thread.
#pragma once

#include <google/protobuf/message.h>

#include <string>

#include "proto/dataset.pb.h"

namespace freshet {

std::string message_digest(const google::protobuf::Message& message);

// Over the entries alone, sorted by URI: where the files lie and when the version was made do not count.
std::string dataset_digest(const v1::DatasetVersion& dataset);

}  // namespace freshet
