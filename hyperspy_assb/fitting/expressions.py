def expression_line_shape(expression, parameters):
    raise NotImplementedError("not yet")
