def actions_of_role(template, role):
    return set()
