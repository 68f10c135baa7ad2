// A NixImage's status, made from the registry's answer. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "kubernetes/nix_image.h"
#include "kubernetes/registry_image.h"

namespace nixery::kubernetes {

// The conditions and the rest for an state; transition times are left out. `built`: what was built of the same
// declaration before, if it was.
Status status_of(const NixImage& image, const PullResult& pull, const std::optional<PullResult>& built,
                 const std::string& reference);

// What an earlier controller reported as built.
std::optional<PullResult> built_by(const Status& status);

// Whether nothing is known yet but that it goes on.
bool is_progress(const PullResult& pull);

const Condition* find_condition(const Status& status, std::string_view type);

}  // namespace nixery::kubernetes
