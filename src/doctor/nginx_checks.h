// Checks of nginx: its version can serve the tree, and its configuration names this tree and these workers.
#pragma once

#include <vector>

#include "doctor/finding.h"
#include "doctor/setup.h"

namespace nixery::doctor {

Finding check_nginx_version(const Nginx& nginx);
// `as_root`: whether the caller may read all of nginx's files.
Finding check_nginx_configuration(const Nginx& nginx, bool as_root);
// What must be in the configuration, once nginx takes it.
Finding check_nginx_includes(const NginxConfiguration& configuration);
Finding check_nginx_tree(const NginxConfiguration& configuration, const fs::path& tree);
Finding check_nginx_workers(const NginxConfiguration& configuration, const std::string& listen);
// Ports of the registry's servers that another program has: nginx does not start then. Nothing where all is well, or
// where nobody but root could see it.
std::vector<Finding> check_nginx_ports(const NginxConfiguration& configuration);

// All of these, as far as they make sense.
std::vector<Finding> check_nginx(const Setup& setup);

// Asks the registry itself: /v2/, which nginx answers, and a list that only a worker can give; neither builds anything.
std::vector<Finding> check_registry(const Setup& setup);

}  // namespace nixery::doctor
